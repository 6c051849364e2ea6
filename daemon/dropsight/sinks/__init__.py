"""Where a record goes once it is durable: the rolling JSON log and the MQTT broker."""
