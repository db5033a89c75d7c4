package hat

// A Write names a version, by its transaction and the number of the write in the transaction from 1.
// The zero Write is the initial version.
type Write struct{ Transaction, Number int }

// An Op is an operation of a transaction on a key.
type Op struct {
	Key   string
	Write bool
	Of    Write // the version written or read
}

// A Transaction is a part of a history. A larger ID is newer.
type Transaction struct {
	ID        int
	Committed bool
	Ops       []Op
}

// An Anomaly is a kind of wrong read.
type Anomaly string

// The anomalies, with the weakest level that excludes each one.
const (
	AbortedRead      Anomaly = "aborted read (read committed, G1a)"
	IntermediateRead Anomaly = "intermediate read (read committed, G1b)"
	VanishingRead    Anomaly = "vanishing transaction (monotonic atomic view)"
	FuzzyRead        Anomaly = "fuzzy read (item cut isolation)"
)

type place struct {
	transaction int
	key         string
}

// Check counts the anomalies of a history in the reads of committed transactions. A
// transaction's reads of its own writes do not count.
func Check(history []Transaction) map[Anomaly]int {
	found := make(map[Anomaly]int)
	committed := map[int]bool{0: true}
	final := make(map[place]Write)
	for _, t := range history {
		committed[t.ID] = t.Committed
		for _, op := range t.Ops {
			if op.Write {
				final[place{t.ID, op.Key}] = op.Of
			}
		}
	}
	for _, t := range history {
		if t.Committed {
			t.check(found, committed, final)
		}
	}
	return found
}

func (t Transaction) check(found map[Anomaly]int, committed map[int]bool, final map[place]Write) {
	before := make(map[string]Write) // by key
	var seen []int                   // transactions
	for _, op := range t.Ops {
		from := op.Of.Transaction
		if op.Write || from == t.ID {
			continue
		}
		if !committed[from] {
			found[AbortedRead]++
		} else if from != 0 && op.Of != final[place{from, op.Key}] {
			found[IntermediateRead]++
		}
		for _, s := range seen {
			if _, wrote := final[place{s, op.Key}]; wrote && from < s {
				found[VanishingRead]++
			}
		}
		if earlier, again := before[op.Key]; again && earlier != op.Of {
			found[FuzzyRead]++
		}
		before[op.Key] = op.Of
		seen = append(seen, from)
	}
}
