"""What tests share: a small shop, a daemon, inputs and oracles; no test."""
