"""What pages share: the server, its guard and its password.

guard          checks of hosts, origins, addresses and body sizes
password       password for pages that others can reach
server         what pages share: their application with its guard, and a server that starts and stops it
uploads        files that a page receives, for an hour
request_queue  requests that are answered one at a time, step by step
"""
