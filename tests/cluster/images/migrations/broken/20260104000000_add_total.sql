ALTER TABLE order_items ADD COLUMN total numeric(12, 2) NOT NULL DEFAULT 0;
