// Command raftlab serves, simulates and checks; see its subcommands.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := &cobra.Command{Use: "raftlab", SilenceErrors: true}
	root.AddCommand(newCheckCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(report(err))
	}
}

// report writes an error and returns the code to exit with.
func report(err error) int {
	var exit *exitError
	if !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "raftlab:", err)
		return 2
	}
	if exit.cause != nil {
		fmt.Fprintln(os.Stderr, "raftlab:", exit.cause)
	}
	return exit.code
}
