"""`emotalk serve`: a page and a REST interface over one set of loaded models.

`store` keeps jobs and files in a work folder, `worker` is the process that holds the models, `server` speaks HTTP.
"""
