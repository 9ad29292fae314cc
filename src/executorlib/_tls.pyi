api: object
