"""Kills real processes of GEMS at random moments, again and again, and checks that nothing was lost or paid for twice."""
