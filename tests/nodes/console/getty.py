"""A getty and login that do as they are told, as a program on a terminal of its own.

It takes the fields of `Script` as JSON, and needs nothing but Python, so that it starts at once.
"""

import json
import os
import select
import sys
import termios


def pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def say(text: str) -> None:
    os.write(1, text.encode())


def echo(on: bool) -> None:
    settings = termios.tcgetattr(0)
    settings[3] = settings[3] | termios.ECHO if on else settings[3] & ~termios.ECHO
    termios.tcsetattr(0, termios.TCSAFLUSH, settings)


def line() -> str:
    text = os.read(0, 4096).decode()
    if not text:
        sys.exit()
    return text.rstrip("\n")


def main() -> None:
    script = json.loads(sys.argv[1])
    # A getty reads its terminal with whatever was typed before; some throw that away.
    pause(script["late"])
    if script["flushes"]:
        termios.tcflush(0, termios.TCIFLUSH)
    say(script["before"])
    for piece in script["pieces"]:  # a prompt that comes bit by bit
        say(piece)
        pause(script["between"])
    while True:
        if not script["pieces"]:
            say(script["banner"] + script["prompt"])
        script["pieces"] = []
        name = line()
        if not name:
            continue
        if name != script["user"] or script["asks"]:
            say(script["password_prompt"])
            echo(script["echoes"])
            if script["times_out"]:
                script["times_out"] = False
                pause(script["fail_delay"])
                termios.tcflush(0, termios.TCIFLUSH)
                echo(True)
                say("\r\nLogin timed out after 60 seconds.\r\n")
                continue
            secret = line()
            echo(True)
            say("\r\n")
            if name != script["user"] or secret != script["secret"]:
                pause(script["fail_delay"])
                say(script["incorrect"])
                continue
        say(script["after"])
        if script["asks_more"]:
            echo(False)
            say(script["asks_more"])
            line()
            echo(True)
            say("\r\nAuthentication token manipulation error\r\n")
            continue
        os.execvp(script["shell"][0], script["shell"])


main()
