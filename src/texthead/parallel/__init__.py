"""Processes: groups under torchrun, data loaders, worker pools, devices.

distributed  ranks, shares, gathers, sums over a process group
loaders      data loaders, and errors for workers that died or hang
startup      the server that forks loader workers; memory that a program keeps
signals      SIGTERM and SIGHUP end a program as Ctrl-C does
worker_pool  run a function in worker processes that may hang or die
device       cpu, cuda or cuda:N, chosen and checked; the memory that is left
testing      run a function in several processes of one group
progress     functions that are called as work goes on
"""
