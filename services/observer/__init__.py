"""The observer: a derived view of the topics. Nothing about money depends on it, and it changes nothing."""
