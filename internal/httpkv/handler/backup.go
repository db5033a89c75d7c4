//go:build !wasip1

package handler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"raftlab/internal/httpkv"
	"raftlab/internal/shardstore"
)

// Copier is a store with groups that makes backups while it runs, such as a
// *shardstore.Part.
type Copier interface {
	Backup(ctx context.Context) (*shardstore.Backup, error)
}

// backupPatience bounds the wait of a backup for the groups and for transactions.
const backupPatience = 30 * time.Second

// backup answers a request for a backup. One backup is made at a time, because a backup
// needs memory for a shard.
func (h *handler) backup(c Copier) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, bad := parameters(r); bad != nil {
			return bad
		}
		if !h.copying.TryLock() {
			return failure(http.StatusServiceUnavailable, httpkv.Busy, "another backup is under way")
		}
		defer h.copying.Unlock()
		ctx, cancel := context.WithTimeout(r.Context(), backupPatience)
		defer cancel()
		b, err := c.Backup(ctx)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.Method == http.MethodHead {
			return nil
		}
		if err := b.Write(patient{w, http.NewResponseController(w)}); err != nil {
			h.opts.Logger.Info("a backup was not sent", "error", err)
			panic(http.ErrAbortHandler) // the client must not take the part for the whole
		}
		return nil
	}
}

// patient is the body of a long answer. The client has answerTimeout for each piece.
type patient struct {
	io.Writer
	times *http.ResponseController
}

func (p patient) Write(piece []byte) (int, error) {
	_ = p.times.SetWriteDeadline(time.Now().Add(answerTimeout))
	n, err := p.Writer.Write(piece)
	if err != nil {
		err = fmt.Errorf("sending the backup: %w", err)
	}
	return n, err
}
