//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"raftlab/internal/durable"
	"raftlab/internal/play/site"
	"raftlab/internal/webguard"
)

const defaultPlayAddress = "127.0.0.1:8420"

// newPlayCommand makes the command raftlab play.
func newPlayCommand() *cobra.Command {
	var listen, out string
	cmd := &cobra.Command{
		Use:   "play",
		Short: "Step through Raft in a browser: the real core, with every message in your hands",
		Long: `Step through Raft in a browser: the real core, with every message in your hands.

The command serves one page until it is stopped. With --out it writes the page as
a file instead, which a browser opens without a server and without a network.
The first start compiles the core to WebAssembly and needs the go command.`,
		Example: `  raftlab play
  raftlab play --out docs/play`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			page, err := site.Page(ctx)
			if err != nil {
				return orInterrupted(ctx, &exitError{exitFailure, err})
			}
			if out != "" {
				return writePlay(out, page, cmd.OutOrStdout())
			}
			return servePlay(ctx, listen, page, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", defaultPlayAddress, "address to serve the page on; port 0: any free one")
	cmd.Flags().StringVar(&out, "out", "", "write the page to index.html in this directory, and serve nothing")
	return cmd
}

// writePlay writes the page to a directory.
func writePlay(dir string, page []byte, out io.Writer) error {
	name := filepath.Join(dir, "index.html")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = durable.WriteFile(name, page, 0o644)
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	fmt.Fprintf(out, "%s: %.1f MB, opens in a browser without a server\n", name, float64(len(page))/1e6)
	return nil
}

// servePlay serves the page until ctx ends.
func servePlay(ctx context.Context, address string, page []byte, out io.Writer) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usageError("--listen %q: %w", address, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	server := &http.Server{Handler: playHandler(page, host), ReadHeaderTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	fmt.Fprintf(out, "raftlab: the playground is on http://%s\n", listener.Addr())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return &exitError{exitFailure, err}
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(late); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return &exitError{exitFailure, err}
	}
	return nil
}

// playHandler answers GET / with the page. Requests of foreign pages are refused.
func playHandler(page []byte, host string) http.Handler {
	guard := webguard.New([]string{host})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if refusal := guard.Check(r); refusal != nil {
			http.Error(w, refusal.Error(), http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store") // the next start may serve another core
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
	})
	return mux
}
