//go:build !wasip1

package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// --logger zap writes lines with etcd's keys, for tools that read etcd's log.
func TestLogOfEtcd(t *testing.T) {
	t.Parallel()
	write := func(o logOptions) string {
		var out strings.Builder
		log, err := o.logger(&out)
		require.NoError(t, err)
		log.Info("left out")
		log.Error("a failure", "error", errors.New("because"), "number", 3)
		return out.String()
	}
	for _, o := range []logOptions{{level: "warn", flavor: "zap"}, {level: "panic", flavor: "zap", format: "json"}} {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(write(o)), &line))
		_, err := time.Parse("2006-01-02T15:04:05.999999Z0700", line["ts"].(string))
		require.NoError(t, err)
		require.Regexp(t, `^\w+/log_test.go:\d+$`, line["caller"])
		delete(line, "ts")
		delete(line, "caller")
		require.Equal(t, map[string]any{"level": "error", "msg": "a failure", "error": "because", "number": 3.0}, line)
	}
	require.Contains(t, write(logOptions{level: "error", format: "json"}), `"level":"ERROR","msg":"a failure"`)
	for _, format := range []string{"", "text"} {
		require.Contains(t, write(logOptions{level: "error", format: format}), `level=ERROR msg="a failure"`)
	}
	require.Contains(t, write(logOptions{level: "error", format: "console", flavor: "zap"}), `level=ERROR msg="a failure"`)
	for _, o := range []logOptions{{level: "loud"}, {level: "info", flavor: "capnslog"}, {level: "info", format: "xml"}} {
		_, err := o.logger(nil)
		require.Error(t, err, "%+v", o)
	}
}
