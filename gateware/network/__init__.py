"""Photonic switches of the network: routes, how they change, and whether they hold."""
