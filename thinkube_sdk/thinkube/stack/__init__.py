"""`thinkube up`: the services on one machine, started together and kept running by one supervisor."""
