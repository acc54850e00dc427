package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server"
)

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "zoo.cfg to read; without it, one server on port 2181 with data in ./coordd-data", TakesFile: true}
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:   "start",
		Usage:  "run a server in the foreground",
		Flags:  []cli.Flag{configFlag(), envFlag(), pprofFlag()},
		Action: start,
	}
}

// configPath is the file that the flags name; "" for none.
func configPath(c *cli.Context) (string, error) {
	if c.Args().Present() {
		return "", cli.Exit(fmt.Errorf("%s takes no argument %q: name the file with --config", c.Command.Name, c.Args().First()), exitInvalidArguments)
	}
	path := c.String("config")
	if c.Bool("env") {
		if path != "" {
			return "", cli.Exit("--config and --env exclude each other", exitInvalidArguments)
		}
		path = getenv(os.Getenv).configFile()
	}
	return path, nil
}

func loadConfig(c *cli.Context) (*config.Config, error) {
	path, err := configPath(c)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return config.Default(), nil
	}
	cfg, faults := config.LoadAll(path)
	switch n := len(faults); n {
	case 0:
		return cfg, nil
	case 1:
		return nil, cli.Exit(faults[0], exitInvalidArguments)
	default:
		return nil, cli.Exit(fmt.Errorf("%w (and %d more: coordd check-config says which)", faults[0], n-1), exitInvalidArguments)
	}
}

func newLogger(cfg *config.Config, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       "coordd",
		Level:      hclog.LevelFromString(cfg.Log.Level),
		JSONFormat: cfg.Log.Format == "json",
		Output:     w,
	})
}

func start(c *cli.Context) error {
	if c.Bool("env") && c.String("config") == "" {
		if err := getenv(os.Getenv).prepare(); err != nil {
			return err
		}
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	log := newLogger(cfg, os.Stderr)
	for _, w := range cfg.Warnings() {
		log.Warn(fmt.Sprint(w))
	}
	if os.Getenv("GOGC") == "" {
		go tuneCollector()
	}
	if addr := c.String("pprof"); addr != "" {
		at, stop, err := servePprof(addr)
		if err != nil {
			return cli.Exit(err, exitInvalidArguments)
		}
		defer stop()
		log.Info("profiles", "url", fmt.Sprintf("http://%s/debug/pprof/", at))
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
