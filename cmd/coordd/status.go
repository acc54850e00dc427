package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "ask the server of a zoo.cfg how it is",
		Flags: []cli.Flag{configFlag(), envFlag()},
		Action: func(c *cli.Context) error {
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			host := cfg.ClientAddress
			if host == "" || host == "0.0.0.0" || host == "::" {
				host = "localhost"
			}
			addr := net.JoinHostPort(host, strconv.Itoa(cfg.ClientPort))
			text, err := word(addr, "srvr")
			if err != nil {
				return cli.Exit(fmt.Errorf("no server answers on %s: %w", addr, err), exitUnexpected)
			}
			fmt.Fprint(c.App.Writer, text)
			if !strings.Contains(text, "Mode: ") {
				return cli.Exit("the server does not serve clients", exitUnexpected)
			}
			return nil
		},
	}
}

// word sends a four-letter word and returns the answer.
func word(addr, w string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, w); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
