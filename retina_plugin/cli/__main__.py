from retina_plugin.cli.command import start

if __name__ == "__main__":
    start()
