"""An onnxruntime process with one model in inference form, all graph optimizations on."""
import numpy as np
import onnxruntime

from oracle import inference_form, write_safetensors
from worker import serve, timed_steps


def make(o):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = o["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(inference_form(o["onnx"]), options, providers=["CPUExecutionProvider"])
    x = np.load(o["x"])

    def step():
        return session.run(["logits"], {"x": x})[0]

    return {"steps": timed_steps(step), "outputs": lambda to: write_safetensors(to, {"logits": step()}),
            "threads": lambda: session.get_session_options().intra_op_num_threads}


if __name__ == "__main__":
    serve(make)
