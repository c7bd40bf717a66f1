"""The closed loop: bootstrap a judge, align a policy with it, label the policy's answers, improve the judge, repeat."""
