package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
)

func checkConfigCommand() *cli.Command {
	return &cli.Command{
		Name:   "check-config",
		Usage:  "explain a zoo.cfg line by line, and say what stops the start",
		Flags:  []cli.Flag{configFlag(), envFlag()},
		Action: checkConfig,
	}
}

func checkConfig(c *cli.Context) error {
	path, err := configPath(c)
	if err != nil {
		return err
	}
	if path == "" {
		return config.Explain(c.App.Writer, config.Default())
	}
	cfg, faults := config.LoadAll(path)
	if err := config.Explain(c.App.Writer, cfg); err != nil {
		return err
	}
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return cli.Exit(faults[0], exitInvalidArguments)
	}
	return cli.Exit(fmt.Errorf("%d lines of %s stop the start", len(faults), path), exitInvalidArguments)
}
