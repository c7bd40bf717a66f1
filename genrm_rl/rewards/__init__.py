"""From judgments of pairs to rewards of single responses: group rules, reward records, and who asks the judge."""
