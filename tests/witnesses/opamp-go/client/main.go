// Command client is an agent for tests around the opamp-go client library: it
// prints what happens as one JSON line each and answers configurations on demand.
// It ends when told by a signal, or when the pipe on its standard input closes,
// so that it never outlives the test that started it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	options, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "opamp-go-client:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	agent, err := startAgent(o)
	if err != nil {
		return err
	}
	select {
	case <-signals:
	case <-pipeClosed(os.Stdin):
	}
	return agent.stop()
}

// pipeClosed never fires for a terminal or /dev/null, whose end means nothing.
func pipeClosed(input *os.File) <-chan struct{} {
	closed := make(chan struct{})
	info, err := input.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return closed
	}
	go func() {
		_, _ = io.Copy(io.Discard, input)
		close(closed)
	}()
	return closed
}
