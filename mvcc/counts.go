package mvcc

// Counts count the operations of a store since its making. Counts are no part of the state:
// a snapshot has none, and equal stores may have different counts.
type Counts struct {
	Puts, Deletes, Ranges int64 // also those of transactions with writes; a deletion counts once for all its keys
	Txns                  int64 // transactions of more than one operation
	PutBytes              int64 // of keys and values
	Grants, Revocations   int64 // of leases
}

// Add returns the sum of two counts.
func (c Counts) Add(o Counts) Counts {
	return Counts{
		c.Puts + o.Puts, c.Deletes + o.Deletes, c.Ranges + o.Ranges, c.Txns + o.Txns,
		c.PutBytes + o.PutBytes, c.Grants + o.Grants, c.Revocations + o.Revocations,
	}
}

// Counts returns the counts of the operations so far.
func (s *Store) Counts() Counts { return s.counts }
