// Command coordd is a server that takes the place of a ZooKeeper server.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
)

// version and built are set by the linker (Makefile).
var (
	version = "dev"
	built   = "01/01/1970 00:00 UTC"
)

func main() {
	if err := run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "coordd:", err)
		code := exitUnexpected
		var exit cli.ExitCoder
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		os.Exit(code)
	}
}

func run(ctx context.Context, args []string) error {
	app := &cli.App{
		Name:           "coordd",
		Usage:          "a ZooKeeper server on Raft",
		HideVersion:    true,
		Commands:       []*cli.Command{startCommand(), statusCommand(), versionCommand(), checkConfigCommand(), benchCommand(), chaosCommand()},
		ExitErrHandler: func(*cli.Context, error) {},
		// Without a usage text behind it: an error is one line.
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return cli.Exit(err, exitInvalidArguments) },
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return cli.Exit(fmt.Errorf("no command %q: coordd --help lists them", c.Args().First()), exitInvalidArguments)
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = app.OnUsageError
	}
	return app.RunContext(ctx, args)
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Action: func(c *cli.Context) error {
			fmt.Fprintf(c.App.Writer, "coordd %s, built on %s\n", version, built)
			return nil
		},
	}
}
