"""The MQTT broker, and Home Assistant behind it."""
