package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server"
)

// gcPercent keeps the heap's head room small: most of it is znodes, which
// live long, and the collector need not walk them.
const gcPercent = 25

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "zoo.cfg to read; without it, one server on port 2181 with data in ./coordd-data", TakesFile: true}
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:   "start",
		Usage:  "run a server in the foreground",
		Flags:  []cli.Flag{configFlag()},
		Action: start,
	}
}

func loadConfig(c *cli.Context) (*config.Config, error) {
	if c.Args().Present() {
		return nil, cli.Exit(fmt.Errorf("%s takes no argument %q: name the file with --config", c.Command.Name, c.Args().First()), exitInvalidArguments)
	}
	path := c.String("config")
	if path == "" {
		return config.Default(), nil
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, cli.Exit(err, exitInvalidArguments)
	}
	return cfg, nil
}

func start(c *cli.Context) error {
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{
		Name:       "coordd",
		Level:      hclog.LevelFromString(cfg.Log.Level),
		JSONFormat: cfg.Log.Format == "json",
		Output:     os.Stderr,
	})
	for _, w := range cfg.Warnings() {
		log.Warn(fmt.Sprint(w))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	s, err := server.Start(cfg, log, server.Build{Version: version, Date: built})
	if err != nil {
		return startFailure(err, cfg)
	}
	data, _ := filepath.Abs(cfg.DataDir)
	log.Info("started", "version", version, "server", cfg.MyID, "clientPort", cfg.ClientPort, "data", data)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	select {
	case sig := <-signals:
		log.Info("stopping", "signal", sig)
		s.Shutdown()
		return nil
	case err := <-s.Failed():
		s.Shutdown()
		return cli.Exit(err, exitServerFault)
	}
}
