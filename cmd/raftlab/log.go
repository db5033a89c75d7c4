//go:build !wasip1

package main

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// logOptions are the flags of a server's log.
type logOptions struct{ level, format, flavor string }

func (o *logOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.format, "log-format", "", "text or json (default text; json with --logger zap)")
	f.StringVar(&o.flavor, "logger", "", "zap for JSON with etcd's keys ts, level, caller and msg")
}

// etcds reports whether the log has etcd's form.
func (o *logOptions) etcds() bool { return o.flavor == "zap" && (o.format == "" || o.format == "json") }

// logger returns the log that is written to w.
func (o *logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	switch err := level.UnmarshalText([]byte(o.level)); {
	case slices.Contains([]string{"dpanic", "panic", "fatal"}, o.level): // etcd's levels above error
		level = slog.LevelError
	case err != nil:
		return nil, usageError("--log-level is %q; want debug, info, warn or error", o.level)
	case o.flavor != "" && o.flavor != "zap":
		return nil, usageError("--logger is %q; want zap", o.flavor)
	case !slices.Contains([]string{"", "text", "console", "json"}, o.format): // console is etcd's text
		return nil, usageError("--log-format is %q; want text or json", o.format)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case o.etcds():
		opts.AddSource, opts.ReplaceAttr = true, etcdAttr
	case o.format != "json":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}

// etcdTime is the form of the key ts.
const etcdTime = "2006-01-02T15:04:05.000Z0700"

// etcdAttr gives the attributes of a line etcd's keys and forms.
func etcdAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("ts", a.Value.Time().Format(etcdTime))
	case slog.LevelKey:
		return slog.String("level", strings.ToLower(a.Value.String()))
	case slog.SourceKey:
		if source, ok := a.Value.Any().(*slog.Source); ok {
			file := filepath.Join(filepath.Base(filepath.Dir(source.File)), filepath.Base(source.File))
			return slog.String("caller", fmt.Sprintf("%s:%d", file, source.Line))
		}
	}
	return a
}
