"""A third party's extension: a package of its own, which knows wsproxy and which wsproxy does not know."""
