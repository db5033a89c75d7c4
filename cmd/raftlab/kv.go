//go:build !wasip1

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"raftlab/internal/httpkv"
	"raftlab/kv"
)

func newKVCommand() *cobra.Command {
	conn := new(connection)
	cmd := &cobra.Command{
		Use:   "kv",
		Short: "Read and write keys of a running server",
		Long: `Read and write keys of a running server.

A VALUE that is left out, or is -, is read from standard input, byte by byte as
it is; get writes a value to standard output in the same way (to a terminal, with
a newline). Writes print the key's new version. Each write happens once, however often it has to be tried.

Exit codes: 0 done; 1 the key is not there; 2 the key has another version;
3 the server does not answer, or has no leader; 4 the server refuses (too large,
say); 64 the command line is wrong; 70 anything else.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError("kv what? get, put, append, del, cas, scan or txn")
		},
	}
	conn.addFlags(cmd)
	cmd.AddCommand(newGetCommand(conn))
	cmd.AddCommand(newPutCommand(conn))
	cmd.AddCommand(newAppendCommand(conn))
	cmd.AddCommand(newDelCommand(conn))
	cmd.AddCommand(newCasCommand(conn))
	cmd.AddCommand(newScanCommand(conn))
	cmd.AddCommand(newTxnCommand(conn))
	return cmd
}

func newGetCommand(conn *connection) *cobra.Command {
	var showVersion bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value, as it is",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
				pair, err := client.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if showVersion {
					fmt.Fprintln(cmd.OutOrStdout(), pair.Version)
					return nil
				}
				if isTerminal(cmd.OutOrStdout()) {
					pair.Value += "\n" // or the prompt would follow on the value
				}
				_, err = io.WriteString(cmd.OutOrStdout(), pair.Value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&showVersion, "version", false, "print the key's version, in place of its value")
	return cmd
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func newPutCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "put KEY [VALUE]",
		Short:   "Set a key's value",
		Example: "  raftlab kv put greeting hello\n  raftlab kv put picture - < picture.png",
		Args:    cobra.RangeArgs(1, 2),
	}
	return writeCommand(conn, cmd, func(args []string, value string) (kv.Op, error) { return kv.Put(args[0], value), nil })
}

func newAppendCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "append KEY [VALUE]",
		Short: "Add to the end of a key's value; a key that is not there counts as empty",
		Args:  cobra.RangeArgs(1, 2),
	}
	return writeCommand(conn, cmd, func(args []string, value string) (kv.Op, error) { return kv.Append(args[0], value), nil })
}

func newCasCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cas KEY VERSION [VALUE]",
		Short: "Set a key's value if its version is VERSION (0: if it is not there)",
		Args:  cobra.RangeArgs(2, 3),
	}
	return writeCommand(conn, cmd, func(args []string, value string) (kv.Op, error) {
		version, err := parseVersion(args[1])
		return kv.Put(args[0], value).IfVersion(version), err
	})
}

func newDelCommand(conn *connection) *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use:   "del KEY",
		Short: "Remove a key",
		Args:  cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&version, "version", "", "only if the key's version is this")
	return writeCommand(conn, cmd, func(args []string, _ string) (kv.Op, error) {
		if version == "" {
			return kv.Delete(args[0]), nil
		}
		v, err := parseVersion(version)
		if err == nil && v == 0 {
			err = usageError("version 0 stands for a key that is not there, and cannot be removed")
		}
		return kv.Delete(args[0]).IfVersion(v), err
	})
}

func parseVersion(s string) (uint64, error) {
	version, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usageError("%q is not a version; want a number from 0", s)
	}
	return version, nil
}

// writeCommand completes a command that writes; what it writes op says, from
// the arguments and the value that is the last of them, or comes from standard input.
func writeCommand(conn *connection, cmd *cobra.Command, op func(args []string, value string) (kv.Op, error)) *cobra.Command {
	var idempotencyKey string
	cmd.Flags().StringVar(&idempotencyKey, "idempotency-key", "", "all writes of KEY under one are one (default: a new one for each)")
	valueAt := map[string]int{"put": 1, "append": 1, "cas": 2}[cmd.Name()] // 0: it takes none
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var value string
		if _, err := op(args, ""); err != nil {
			return err // before anything is read
		}
		if valueAt > 0 {
			var err error
			if value, err = valueOf(cmd, args[valueAt:]); err != nil {
				return err
			}
		}
		write, err := op(args, value)
		if err != nil {
			return err
		}
		return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
			version, err := client.Do(ctx, httpkv.Write{Op: write, IdempotencyKey: idempotencyKey})
			if err == nil && valueAt > 0 {
				fmt.Fprintln(cmd.OutOrStdout(), version)
			}
			return err
		})
	}
	return cmd
}

// valueOf returns the value that an argument gives, or standard input.
func valueOf(cmd *cobra.Command, rest []string) (string, error) {
	if len(rest) == 1 && rest[0] != "-" {
		return rest[0], nil
	}
	return readInput(cmd, httpkv.Limits.Value, "value")
}

// readInput reads standard input, and no more of it than shows that it is too large.
func readInput(cmd *cobra.Command, limit int, what string) (string, error) {
	input, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), int64(limit)+1))
	if err != nil {
		return "", &exitError{exitFailure, fmt.Errorf("reading standard input: %w", err)}
	}
	if len(input) > limit {
		return "", &exitError{exitRefused, fmt.Errorf("standard input is over the limit of a %s, %d bytes", what, limit)}
	}
	return string(input), nil
}

func newTxnCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "txn",
		Short: "Carry out a transaction, from standard input (serve --groups)",
		Long: `Carry out a transaction over any keys, which is read from standard input as JSON: if
all comparisons hold, the operations of success, else those of failure, at one
moment. What came of it is printed as JSON; the exit code is 2 if a comparison did
not hold. A transaction is not tried again when its answer is lost.`,
		Example: `  echo '{"compare": [{"key": "a", "version": 3}],
         "success": [{"put": {"key": "a", "value": "new"}}, {"delete": {"key": "b"}}],
         "failure": [{"get": {"key": "a"}}]}' | raftlab kv txn`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			transaction, err := readInput(cmd, httpkv.MaxTxnBytes, "transaction")
			if err != nil {
				return err
			}
			return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
				answer, err := client.Txn(ctx, []byte(transaction))
				if err != nil {
					return err
				}
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(answer); err != nil || answer.Succeeded {
					return err
				}
				return &exitError{code: exitMismatch}
			})
		},
	}
}

// scanOptions are the flags of scan.
type scanOptions struct {
	start, end, prefix string
	limit              int
	asJSON, keysOnly   bool
}

func newScanCommand(conn *connection) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Print keys, versions and values in the order of the keys",
		Long: `Print keys, versions and values in the order of the keys, a line each, with tabs
between. Keys and values that are not plain printable text are quoted as in Go. With
--json a line is an object, with key_base64 or value_base64 where the bytes are not UTF-8.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limit < 0 {
				return usageError("--limit is %d; want at least 0", o.limit)
			}
			return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
				out := bufio.NewWriter(cmd.OutOrStdout())
				if err := o.scan(ctx, client, out); err != nil {
					return err
				}
				return out.Flush()
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.start, "start", "", "the first key")
	f.StringVar(&o.end, "end", "", "the key to end before")
	f.StringVar(&o.prefix, "prefix", "", "only keys that begin so")
	f.IntVar(&o.limit, "limit", 0, "at most so many keys; 0: all")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON object a line")
	f.BoolVar(&o.keysOnly, "keys", false, "print the keys alone")
	return cmd
}

func (o scanOptions) scan(ctx context.Context, client *httpkv.Client, out io.Writer) error {
	left := o.limit
	if left == 0 {
		left = -1
	}
	size := kv.MaxScan
	if left > 0 {
		size = min(size, left)
	}
	pairs, next, err := client.Scan(ctx, o.start, o.end, o.prefix, size)
	for ; err == nil; pairs, next, err = client.ScanNext(ctx, next) {
		for _, p := range pairs {
			if left == 0 {
				return nil
			}
			if err := o.print(out, p); err != nil {
				return err
			}
			left--
		}
		if next == "" || left == 0 {
			return nil
		}
	}
	return err
}

func (o scanOptions) print(out io.Writer, p kv.Pair) error {
	if o.asJSON {
		return json.NewEncoder(out).Encode(httpkv.ItemOf(p))
	}
	if o.keysOnly {
		_, err := fmt.Fprintln(out, printable(p.Key))
		return err
	}
	_, err := fmt.Fprintf(out, "%s\t%d\t%s\n", printable(p.Key), p.Version, printable(p.Value))
	return err
}

// printable returns s, quoted if it would not be seen as it is.
func printable(s string) string {
	if !utf8.ValidString(s) || s == "" || s[0] == '"' {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
