"""Publishing to the MQTT broker, and Home Assistant discovery."""
