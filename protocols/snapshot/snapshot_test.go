package snapshot_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/harness"
	"raftlab/protocols/snapshot"
)

const (
	banks = 4
	each  = 1000
)

// open starts the banks.
func open(c *harness.Cluster) []*snapshot.Bank {
	all := make([]*snapshot.Bank, banks)
	for i := range all {
		all[i] = snapshot.NewBank(c.Ends(i), i, each)
		c.Serve(i, all[i])
	}
	return all
}

// trade sends random transfers, and starts some snapshots in between. The result holds the
// totals of the snapshots, the totals without channels, and the totals of an auditor's tour.
func trade(t *testing.T, c *harness.Cluster, all []*snapshot.Bank) (totals, balances, tours []int) {
	const snapshots = 10
	for n := range snapshots {
		for i := range 30 {
			from := c.Rand.IntN(banks)
			to := (from + 1 + c.Rand.IntN(banks-1)) % banks
			if all[from].Balance() > 0 {
				require.NoError(t, all[from].Send(to, 1+c.Rand.IntN(min(100, all[from].Balance()))))
			}
			if i == 15 {
				all[c.Rand.IntN(banks)].Start(n)
			}
			time.Sleep(time.Duration(c.Rand.IntN(5)) * time.Millisecond)
		}
		tour := 0
		for _, b := range all {
			tour += b.Balance()
			time.Sleep(time.Millisecond)
		}
		tours = append(tours, tour)
	}
	for n := range snapshots {
		total, balance := 0, 0
		for _, b := range all {
			harness.WaitFor(t, time.Minute, "a snapshot", func() bool { _, ok := b.Part(n); return ok })
			part, _ := b.Part(n)
			total += part.Total()
			balance += part.Balance
		}
		totals, balances = append(totals, total), append(balances, balance)
	}
	return totals, balances, tours
}

// Every snapshot has all the money, though messages are late and transfers go on. An
// auditor's tour does not have it all, and balances without channels do not either.
func TestSnapshotsAreConsistent(t *testing.T) {
	harness.Run(t, banks, func(t *testing.T, c *harness.Cluster) {
		c.SetFIFO(true)
		c.SetFaults(harness.Late)
		totals, balances, tours := trade(t, c, open(c))
		for n, total := range totals {
			require.Equal(t, banks*each, total, "snapshot %d", n)
		}
		require.NotEqual(t, totals, balances, "some money was on its way")
		require.NotEqual(t, totals, tours, "an auditor's tour is no snapshot")
	})
}

// Without FIFO, transfers overtake markers, and the snapshots are wrong.
func TestSnapshotsNeedFIFO(t *testing.T) {
	harness.Run(t, banks, func(t *testing.T, c *harness.Cluster) {
		c.SetFaults(harness.Late)
		totals, _, _ := trade(t, c, open(c))
		wrong := 0
		for _, total := range totals {
			if total != banks*each {
				wrong++
			}
		}
		require.Positive(t, wrong)
	})
}

// A bank sends no more than its balance, and to other banks alone.
func TestSendTooMuch(t *testing.T) {
	harness.Run(t, banks, func(t *testing.T, c *harness.Cluster) {
		all := open(c)
		require.EqualError(t, all[0].Send(1, each+1), "snapshot: cannot send 1001 of 1000")
		require.EqualError(t, all[0].Send(0, 1), "snapshot: bank 0 cannot send to bank 0 of 4")
		require.EqualError(t, all[0].Send(banks, 1), "snapshot: bank 0 cannot send to bank 4 of 4")
		require.Equal(t, each, all[0].Balance())
	})
}
