package shardstore_test

import _ "raftlab/internal/testkit" // -seed is a flag of every test package
