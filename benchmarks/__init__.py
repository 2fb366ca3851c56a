"""The benchmarks: wsproxy beside other proxies, in one run on one machine. See README.md in this folder.

Only `engines` imports wsproxy, for its engines; the proxy itself is measured from outside, like every other one.
"""
