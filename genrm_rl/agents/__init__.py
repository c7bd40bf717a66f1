"""Agents: policies of many turns, cloned, trained by reward, judged by trajectory and step, and measured."""
