"""Where things run, behind one small protocol, and the handles to what runs there."""
