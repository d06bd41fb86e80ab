"""The pulse sequencer: programs with static time, and the channels that they play on."""
