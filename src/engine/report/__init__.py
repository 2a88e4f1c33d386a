"""Compares the runs below a folder: a ranking, tests of the differences, figures and a page.

`read` turns the files of runs into runs and the keys that they differ in, `statistics` turns these
into numbers and sentences, and `page` turns them into text, HTML and figures. A report changes no
file of a run, and it needs neither torch nor Lightning.
"""
