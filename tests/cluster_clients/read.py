"""What keys are, one line for each line of the input: read.py HOST. Follows MOVED over plain connections."""

import socket
import sys


class Reader:
    def __init__(self, host):
        self.host, self.links = host, {}

    def get(self, key):
        host = self.host
        for _ in range(5):
            answer = self.ask(host, f"GET {key}")
            if not answer.startswith("-MOVED "):
                return answer
            host = answer.split(" ")[2].split(":")[0]
        return "moved again and again"

    def ask(self, host, line):
        if host not in self.links:
            link = socket.create_connection((host, 6379), 5)
            self.links[host] = (link, link.makefile("rb"))
            assert self.ask(host, "AUTH p") == "+OK"
        link, answers = self.links[host]
        link.sendall(f"{line}\r\n".encode())
        answer = answers.readline().decode().strip()
        if answer == "$-1":
            return "0"
        return answers.readline().decode().strip() if answer.startswith("$") else answer


reader = Reader(sys.argv[1])
for key in sys.stdin:
    print(reader.get(key.strip()))
