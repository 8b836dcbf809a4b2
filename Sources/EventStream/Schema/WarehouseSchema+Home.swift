extension Migration {
    /// For which database a position was moved last, and what became of events that were set aside.
    static let home = #"""
        ALTER TABLE {{positions}}
            ADD COLUMN token uuid,
            ADD COLUMN keep_alive double precision NOT NULL DEFAULT 5;
        COMMENT ON COLUMN {{positions}}.token IS 'Written by an archiver when it starts; the active database it archives for knows it';
        COMMENT ON COLUMN {{positions}}.keep_alive IS 'How often the archiver at work gives a sign of life, in seconds';
        ALTER TABLE {{lost}}
            ADD COLUMN accepted timestamptz,
            ADD COLUMN acceptance text;
        COMMENT ON COLUMN {{lost}}.accepted IS 'When a person has accepted that the event is lost; NULL: `evt archive verify` names it';
        COMMENT ON COLUMN {{lost}}.acceptance IS 'Why, in the words of that person';
        """#
}
