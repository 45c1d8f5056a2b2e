"""The operator's configuration: config.yaml and the environment, as one frozen `Config`.

Entry point: `loading.load_config`. Every error names the key's path and line; see
`document.Problem`.
"""
