"""What one would write in an afternoon: watchdog, imread, resize, invoke, publish, one image after the other.

user_loop.py MODEL FOLDER COUNT BROKER-PORT: prints `ready`, works until COUNT images came, prints JSON.
"""

import json
import queue
import sys
import time

import cv2
import numpy as np
import paho.mqtt.client as mqtt
from ai_edge_litert.interpreter import Interpreter
from paho.mqtt.enums import CallbackAPIVersion
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Handler(FileSystemEventHandler):
    def __init__(self) -> None:
        self.paths: queue.Queue[str] = queue.Queue()

    def on_created(self, event: FileSystemEvent) -> None:
        self.paths.put(str(event.src_path))


def main() -> None:
    model, folder, count, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    interpreter = Interpreter(model_path=model)
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if port:
        client.connect("127.0.0.1", port)
        client.loop_start()
    handler, observer = Handler(), Observer()
    observer.schedule(handler, folder)
    observer.start()
    print("ready", flush=True)
    path = handler.paths.get()
    began = time.perf_counter()
    for number in range(count):
        if number:
            path = handler.paths.get()
        picture = cv2.imread(path)
        assert picture is not None  # noqa: S101 - our own photos
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (224, 224), interpolation=cv2.INTER_AREA)
        tensor = (small.astype(np.float32) - 127) / 128
        scale, zero_point = inputs["quantization"]
        if scale:
            tensor = np.clip(np.round(tensor / scale + zero_point), -128, 127)
        interpreter.set_tensor(inputs["index"], tensor.astype(inputs["dtype"])[np.newaxis])
        interpreter.invoke()
        scores = interpreter.get_tensor(outputs["index"])[0]
        found = {"image": path, "class": int(scores.argmax()), "score": float(scores.max())}
        if port:
            client.publish("loop/result", json.dumps(found), qos=1)
    print(json.dumps({"images": count, "seconds": time.perf_counter() - began}), flush=True)
    observer.stop()
    client.loop_stop()


if __name__ == "__main__":
    main()
