"""What a call goes through on its way to a judge and back: the door, its body, limits, admission, cohorts, replies."""
