"""Receivers of records once they are durable: MQTT, webhooks, the terminal."""
