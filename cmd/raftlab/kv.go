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
	"strings"
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

A VALUE that is left out, or is -, comes from standard input, byte for byte. get
writes a value to standard output, byte for byte. On a terminal get adds a newline,
and refuses a value that is not text unless --raw is given.

Writes print the key's new version. A write takes effect once, however often the
command repeats it. If the server does not answer, the command names the
--idempotency-key with which a later command repeats the same write.

Exit codes: 0 done; 1 the store does not hold the key; 2 the key has another
version; 3 no answer, or no leader, in time; 4 the server refuses the request (too
large, say); 64 the command line is wrong; 70 any other failure; 130 Ctrl-C.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError("kv needs a command: get, put, append, del, cas, scan or txn")
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
	var showVersion, raw bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value, byte for byte",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: conn.keys(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.use(cmd, nothing, func(ctx context.Context, client *httpkv.Client) error {
				pair, err := client.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if showVersion {
					fmt.Fprintln(cmd.OutOrStdout(), pair.Version)
					return nil
				}
				if isTerminal(cmd.OutOrStdout()) && !raw {
					if !isText(pair.Value) {
						return &exitError{exitFailure, fmt.Errorf("the value (%d bytes) is not text, and could confuse the terminal; write it to a file (> FILE), or add --raw", len(pair.Value))}
					}
					pair.Value += "\n" // before the prompt
				}
				_, err = io.WriteString(cmd.OutOrStdout(), pair.Value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&showVersion, "version", false, "print the key's version, in place of its value")
	cmd.Flags().BoolVar(&raw, "raw", false, "print a value that is not text on a terminal, too")
	return cmd
}

// isTerminal reports whether w is a terminal. The null device is a character device,
// too, and no terminal.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// isText reports whether s has printable characters, lines and tabs alone.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r'
	})
}

func newPutCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "put KEY [VALUE]",
		Short:   "Set a key's value",
		Example: "  raftlab kv put greeting hello\n  raftlab kv put picture - < picture.png",
		Args:    cobra.RangeArgs(1, 2),

		ValidArgsFunction: conn.keys(),
	}
	return writeCommand(conn, cmd, func(args []string, value string) (kv.Op, error) { return kv.Put(args[0], value), nil })
}

func newAppendCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "append KEY [VALUE]",
		Short: "Add to the end of a key's value (a missing key counts as empty)",
		Args:  cobra.RangeArgs(1, 2),

		ValidArgsFunction: conn.keys(),
	}
	return writeCommand(conn, cmd, func(args []string, value string) (kv.Op, error) { return kv.Append(args[0], value), nil })
}

func newCasCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cas KEY VERSION [VALUE]",
		Short: "Set a key's value if its version is VERSION (0: if the key is missing)",
		Args:  cobra.RangeArgs(2, 3),

		ValidArgsFunction: conn.keys(),
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

		ValidArgsFunction: conn.keys(),
	}
	cmd.Flags().StringVar(&version, "version", "", "remove the key only if its version is this")
	return writeCommand(conn, cmd, func(args []string, _ string) (kv.Op, error) {
		if version == "" {
			return kv.Delete(args[0]), nil
		}
		v, err := parseVersion(version)
		if err == nil && v == 0 {
			err = usageError("version 0 stands for a missing key, and a missing key cannot be removed")
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

// writeCommand completes a writing command. op makes the operation from the arguments
// and the value. The value is the last argument, or comes from standard input.
func writeCommand(conn *connection, cmd *cobra.Command, op func(args []string, value string) (kv.Op, error)) *cobra.Command {
	var idempotencyKey string
	cmd.Flags().StringVar(&idempotencyKey, "idempotency-key", "", "all writes of KEY with one idempotency key are one write (default: a new key for each command)")
	valueAt := map[string]int{"put": 1, "append": 1, "cas": 2}[cmd.Name()] // 0: no value
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var value string
		if _, err := op(args, ""); err != nil {
			return err // before standard input is read
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
		return conn.use(cmd, readFirst, func(ctx context.Context, client *httpkv.Client) error {
			version, err := client.Do(ctx, httpkv.Write{Op: write, IdempotencyKey: idempotencyKey})
			if err == nil && valueAt > 0 {
				fmt.Fprintln(cmd.OutOrStdout(), version)
			}
			return err
		})
	}
	return cmd
}

// readFirst is the advice for a write whose key is not known.
const readFirst = "raftlab kv get shows the key"

// valueOf returns the value, from an argument or from standard input.
func valueOf(cmd *cobra.Command, rest []string) (string, error) {
	if len(rest) == 1 && rest[0] != "-" {
		return rest[0], nil
	}
	return readInput(cmd, httpkv.Limits.Value, "value")
}

// readInput reads standard input, and at most one byte over the limit.
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
		Long: `Carry out a transaction over any keys. The command reads the transaction from
standard input, as JSON. If all comparisons hold, the operations of success are
carried out, else the operations of failure, all at one moment. The command prints
the results as JSON. The exit code is 2 if a comparison did not hold.

Keys and values are text. For other bytes write key_base64 and value_base64 in
place of key and value.

The command repeats a transaction only while the server has certainly not begun it.
After a lost answer the outcome is open, and the command says so.`,
		Example: `  echo '{"compare": [{"key": "a", "version": 3}],
         "success": [{"put": {"key": "a", "value": "new"}}, {"delete": {"key": "b"}}],
         "failure": [{"get": {"key": "a"}}]}' | raftlab kv txn`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			transaction, err := readInput(cmd, httpkv.MaxTxnBytes, "transaction")
			if err != nil {
				return err
			}
			return conn.use(cmd, compareFirst, func(ctx context.Context, client *httpkv.Client) error {
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

// compareFirst is the advice for a transaction with an open outcome.
const compareFirst = "read a key that the transaction changes before you repeat the command (a transaction that compares the versions of the keys it changes can be repeated safely)"

// scanOptions are the flags of scan.
type scanOptions struct {
	start, end, prefix string
	limit              int
	asJSON, keysOnly   bool
	// cut is the length of the longest key and value to print whole, and 0 for any
	// length.
	cut int
}

// terminalCut keeps a large value from filling a terminal.
const terminalCut = 200

func newScanCommand(conn *connection) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Print keys, versions and values in the order of the keys",
		Long: `Print keys, versions and values in the order of the keys. Each key has a line of
fields with tabs between. Keys and values are quoted as in Go unless all their
characters are printable. On a terminal a value of more than 200 bytes is cut. With
--json each line is an object, with key_base64 or value_base64 for bytes that are
not UTF-8.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limit < 0 {
				return usageError("--limit is %d; want at least 0", o.limit)
			}
			if isTerminal(cmd.OutOrStdout()) {
				o.cut = terminalCut
			}
			return conn.use(cmd, nothing, func(ctx context.Context, client *httpkv.Client) error {
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
	f.StringVar(&o.end, "end", "", "end before this key")
	f.StringVar(&o.prefix, "prefix", "", "only keys with this prefix")
	f.IntVar(&o.limit, "limit", 0, "the most keys to print; 0: all")
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
		_, err := fmt.Fprintln(out, o.shorten(p.Key))
		return err
	}
	_, err := fmt.Fprintf(out, "%s\t%d\t%s\n", o.shorten(p.Key), p.Version, o.shorten(p.Value))
	return err
}

// shorten returns s printable, and cut if s is too long for a terminal.
func (o scanOptions) shorten(s string) string {
	if o.cut == 0 || len(s) <= o.cut {
		return printable(s)
	}
	end := o.cut
	for end > o.cut-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end-- // cut between characters
	}
	return fmt.Sprintf("%s... (%d bytes)", printable(s[:end]), len(s))
}

// printable returns s, quoted unless all its characters are printable.
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
