"""A whole rotation on a laptop: small emulators do what AWS and Kubernetes do in production.

`local` imports the product and is never imported by it. Everything in it reads the same
`template.yaml` and state machine definition that are deployed to AWS.
"""
