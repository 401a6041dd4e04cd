"""The delivery: one module for each DeliveryMode."""
