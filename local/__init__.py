"""A whole rotation on a laptop: what AWS and Kubernetes do in production, done here by small emulators.

`local` imports the product and is never imported by it. Everything in it reads the same
`template.yaml` and state machine definition that are deployed to AWS.
"""
