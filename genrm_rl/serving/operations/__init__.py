"""What is seen of the service from outside: proxy, log, metrics, recent calls, and the pages."""
