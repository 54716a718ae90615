"""Serves a GGUF file by llama.cpp on a free port of loopback, says its address, and ends when its standard input does."""

import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx = 2048
parameters.n_parallel = 2
parameters.n_gpu_layers = 0
# One thread: what is computed does not depend on how it is shared.
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.port = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
