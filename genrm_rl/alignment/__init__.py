"""Policy alignment: sample groups of answers, have them judged, update the policy, publish it, measure it."""
